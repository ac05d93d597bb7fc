"""The part that touches the world: files, the network, the screen. Nothing pure imports it."""
