"""Arrays of JAX that are sharded across processes: from the devices to the host, and back."""
