//! vserver-tree
