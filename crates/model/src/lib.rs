//! vserver-model
