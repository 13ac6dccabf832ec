"""The models, samplers and problems of the experiments, in both profiles."""
