"""The stages fetch, features, train and analyze, and the artifacts they leave."""
