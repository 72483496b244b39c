//! Everything durable, in SQL.
