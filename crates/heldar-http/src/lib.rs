//! HTTP foundation.
