"""What an image is worth: a method's images against random, herded and all real ones, on the sets of `worth`."""
