//! The points and the places that reach the disk, as they stand in the sources: none is missed.
