//! `causeway pki init`: makes the certificates of a link.

use service::names::{LinkName, PeerName};
use service::pki::{self, Request};

use crate::args::PkiInit;
use crate::exit::Failure;

/// Makes an authority and the certificates of both sides, and prints which file goes where.
pub(crate) fn init(init: &PkiInit) -> Result<(), Failure> {
    let link = LinkName::parse(&init.link).map_err(Failure::Config)?;
    for name in init.senders.iter().chain(&init.receivers) {
        PeerName::parse(name).map_err(Failure::Config)?;
    }
    let request = Request { link: &link, sender: &init.senders, receiver: &init.receivers };
    let written = pki::init(&init.dir, &request).map_err(Failure::failed)?;
    println!("{written}");
    Ok(())
}
