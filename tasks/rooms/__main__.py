"""python -m tasks.rooms: simulate rooms, align the measured ones, measure RT60 and C50 of all, in data/rooms."""

from tasks.common.cli import main
from tasks.rooms.stage import run

if __name__ == "__main__":  # worker processes import this module again
    main("rooms", run)
