//! Clients for WeChat's servers.
