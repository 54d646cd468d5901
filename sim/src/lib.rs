//! A cluster in one thread, with virtual time and seeded faults.
