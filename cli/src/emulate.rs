//! `causeway netem`: the WAN emulator.

use netem::command::NetemCommand;

use crate::exit::Failure;

/// Runs an emulator command; this process ends with the exit code of the program that it ran.
pub(crate) fn emulate(command: NetemCommand) -> Result<(), Failure> {
    match netem::command::run(command) {
        Ok(0) => Ok(()),
        // An exit code is one byte; a larger failure code must not become 0.
        Ok(code) => kafka::leave(u8::try_from(code).unwrap_or(1)),
        Err(error) => Err(Failure::failed(error)),
    }
}
