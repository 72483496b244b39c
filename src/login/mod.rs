//! Tickets and the ways to log in.
