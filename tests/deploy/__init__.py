"""Image, chart and kustomize Components, with the tools that their users have."""
