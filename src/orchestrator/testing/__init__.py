"""What users test their workflows and stores with: a virtual clock, and the conformance suite of the store's contract."""
