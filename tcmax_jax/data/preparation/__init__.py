"""What all builders of clips share: from a list of clips to records, in pieces that are kept."""
