"""What a database keeps on the disk: a journal, snapshots, large files; and a twin in memory."""
