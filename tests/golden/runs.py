"""The runs: between them the schemes, an audit, a sweep, redraws, pooling, encodings, held-out images.

Not what sites train alone: the bytes of those messages vary by one with the digits of their seconds.
"""

COMMON = """
networks = 2
width = 4
{more}
[recipe]
steps = 4
max_steps = 8
lr = [0.01, 0.03]
pilots = 1
"""

TWO = """
federation = {{ name = "two", dataset = "phantom:breast", images = 60, sites = ["a", "b"], {federation} }}
"""

POLICY = "policy = {{ allow_real_images = true, allow_weights = true, start = 'real' }}"

DISTILLED = """
[scheme.dc]
iterations = 2
outer = 2
inner = 1
[scheme.dm]
iterations = 3
early_steps = 4
[scheme.mtt]
iterations = 1
experts = 1
epochs = 2
expert_epochs = 1
max_start_epoch = 1
syn_steps = 2
"""

RUNS = {
    "images": TWO.format(federation=f"held_out = 0.2, {POLICY.format()}")
    + COMMON.format(more='ipc = [1, 2]\nseeds = 2\npartitions = 2\nleave_out = ["dm"]')
    + "[scheme.full]\n[scheme.random]\n[scheme.herding]\n[scheme.kcenter]\n[scheme.central-dm]\n"
    + "[scheme.dsa]\niterations = 2\nouter = 1\ninner = 0\n"
    + DISTILLED,
    "privacy": TWO.format(federation=POLICY.format())
    + COMMON.format(more="ipc = 2\nepsilon = 8.0\naudit = { shadows = 6, steps = 4 }")
    + "[scheme.full]\n[scheme.dm]\niterations = 3\nearly_steps = 4\n"
    + "[scheme.dp-dm]\niterations = 2\nqueries = 1\nwidth = 4\n"
    + "[scheme.dp-dc]\niterations = 2\nqueries = 1\nwidth = 4\n[scheme.fedavg]\nrounds = 2\n",
    "sweep": TWO.format(federation="policy = {{ allow_real_images = true }}".format())
    + COMMON.format(more="ipc = 1")
    + '[sweep]\n"federation.partition" = [{ by = "iid" }, { by = "dirichlet", alpha = 0.5 }]\n'
    + "[scheme.random]\n[scheme.dm]\niterations = 3\nearly_steps = 4\n",
    "colour": """
federation = { name = "three", dataset = "phantom:blood", images = 90, sites = 3, policy.allow_real_images = true }
encoding = "float16"
pooling = "weighted"
models = ["convnet", "mlp"]
"""
    + COMMON.format(more="ipc = [1, 2]")
    + "[scheme.random]\n[scheme.dm]\niterations = 3\nearly_steps = 4\n",
}
