"""One file a stage: plain functions from records to records, which know nothing of disks, progress or each other."""
