"""Mixtures: planned noise by noise, rendered in shards, with the achieved SNR and level measured."""
