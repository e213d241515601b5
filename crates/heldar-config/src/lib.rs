//! Settings of the server.
