//! One port, two protocols: serving and calling HTTP and gRPC.
