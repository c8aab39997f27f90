"""Room responses: simulated shoeboxes and measured rooms, with the reverberation measured from each of them."""
