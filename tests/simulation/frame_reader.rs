//! Reader of the frames that a sender makes, for the oracle; with a planted bug it sends others in their place.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use wire::compress::Codec;
use wire::frame::{Frame, FrameBuilder, FrameCursor, IntactFrame, Job, LaneDecoder, Library, Shaper, StateBound, Step};
use wire::ids::{Epoch, LaneId, Position};

use crate::bugs::Bug;

pub(crate) struct FrameReader {
    bound: Option<StateBound>,
    decoders: HashMap<LaneId, (Epoch, LaneDecoder)>,
    /// Lanes of a sender that begins a new epoch with the state of the one before.
    forgetful: Option<HashMap<LaneId, Encoder>>,
}

impl FrameReader {
    pub(crate) fn new(bound: Option<StateBound>, bug: Option<Bug>) -> Self {
        let forgetful = (bug == Some(Bug::FrameStateKept)).then(HashMap::new);
        Self { bound, decoders: HashMap::new(), forgetful }
    }

    /// Returns the frame to send, and its content.
    pub(crate) fn read(&mut self, bytes: Bytes) -> Result<(Bytes, Frame), String> {
        let intact = IntactFrame::check(bytes.clone()).map_err(|error| error.to_string())?;
        let head = intact.header().head;
        let begin = || (head.epoch, LaneDecoder::new(self.bound));
        let decoder = self.decoders.entry(head.lane).or_insert_with(begin);
        if decoder.0 != head.epoch {
            *decoder = begin();
        }
        let frame = decoder.1.decode(&intact).map_err(|error| format!("a frame of an honest sender: {error}"))?;
        let Some(lanes) = &mut self.forgetful else { return Ok((bytes, frame)) };
        let encoder = lanes.entry(head.lane).or_insert_with(|| Encoder::new(self.bound));
        Ok((encoder.encode(&frame), frame))
    }
}

/// Encoder of a lane, for all of its epochs.
struct Encoder {
    builder: FrameBuilder,
    shaper: Shaper,
    jobs: Receiver<Job>,
}

impl Encoder {
    fn new(bound: Option<StateBound>) -> Self {
        let (library, jobs) = Library::new();
        let mut shaper = Shaper::new(library);
        shaper.begin(bound);
        Self { builder: FrameBuilder::new(), shaper, jobs }
    }

    fn encode(&mut self, frame: &Frame) -> Bytes {
        let mut cursor = FrameCursor::default();
        let mut at = Position(0);
        while let Some(step) = frame.next(&mut cursor) {
            match step {
                Step::Run(run) => {
                    self.shaper.join(run.slot, &Arc::from("all topics"));
                    at = run.from;
                }
                Step::Record(run, record) => {
                    self.builder.push(run.slot, at, run.leader_epoch, &record);
                    at = Position::after(record.offset);
                }
                Step::RunEnd(run) => self.builder.advance(run.slot, at, run.next),
            }
        }
        let bytes = self.builder.finish_with(frame.header().head, Codec::Shape(1), &mut self.shaper);
        self.jobs.try_iter().for_each(Job::learn);
        bytes
    }
}
