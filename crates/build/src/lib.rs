//! vserver-build
