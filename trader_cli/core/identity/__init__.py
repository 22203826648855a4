"""What artifacts are named by: digests, ids, anchors, manifests."""
