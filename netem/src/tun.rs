//! The tun mode: carries every IP packet between two network namespaces over the path model. TCP, QUIC and ping meet
//! the same WAN. Each namespace ends in a TUN device, whose other end the carrier holds.

mod device;
mod error;
mod namespace;
mod offload;
mod persistent;
mod pid_namespace;
mod record;
mod run;
mod site;

pub use error::TunError;
pub use namespace::Namespace;
pub use pid_namespace::run_as_first_process;
pub use site::{ADDRESSES, MTU, Site, SiteSettings};

pub(crate) use persistent::{TakenDown, down, exec, up};
pub(crate) use run::run;
