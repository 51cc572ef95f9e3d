//! `causeway netem`: the WAN emulator, which answers with the exit code of what it ran.

use netem::command::NetemCommand;

use crate::exit::Failure;

/// Does what was asked; a command's own exit code ends this process.
pub(crate) fn emulate(command: NetemCommand) -> Result<(), Failure> {
    match netem::command::run(command) {
        Ok(0) => Ok(()),
        // Beyond a byte there is no exit code: what was meant as failure stays one.
        Ok(code) => kafka::leave(u8::try_from(code).unwrap_or(1)),
        Err(error) => Err(Failure::failed(error)),
    }
}
