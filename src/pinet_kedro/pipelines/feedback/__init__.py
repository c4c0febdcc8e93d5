"""What users took of what was recommended to them."""
