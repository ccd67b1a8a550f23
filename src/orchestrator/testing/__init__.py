"""What users test workflows and stores with: a virtual clock, and the conformance suite of the contract."""
