"""Everything that can run an exported graph or a checkpoint, behind one interface (`base`)."""
