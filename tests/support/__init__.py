"""What tests share: servers, disks that fail, strategies."""
