"""The public API `phalanx.v1` as generated from its proto files, for whatever the client does not offer."""
