"""Audits: shadows and what attacks find on them."""
