//! One stream in decoding: which of its pictures are waited for, and what they become.

use std::collections::VecDeque;

use heldar_decode::wire::{Answer, Hints, Output};

use crate::av::{Decoder, Picture, Skip};
use crate::render::Renderer;

/// Pictures that can be waited for at the same time; more than a decoder ever holds back.
const WAITING: usize = 64;

/// A stream.
pub(crate) struct Stream {
    number: u32,
    decoder: Decoder,
    waiting: VecDeque<(i64, Vec<Output>)>,
    /// Processor time since the last answer, in microseconds.
    cpu_us: u32,
}

impl Stream {
    pub(crate) fn new(number: u32, decoder: Decoder) -> Self {
        Stream { number, decoder, waiting: VecDeque::new(), cpu_us: 0 }
    }

    /// Adds processor time that was spent on it.
    pub(crate) fn spent(&mut self, cpu_us: u32) {
        self.cpu_us = self.cpu_us.saturating_add(cpu_us);
    }

    /// Decodes a unit and gives out what is ready.
    pub(crate) fn unit(
        &mut self,
        renderer: &mut Renderer,
        pts: i64,
        hints: Hints,
        outputs: Vec<Output>,
        payload: &[u8],
        answer: &mut dyn FnMut(Answer),
    ) {
        let is_wanted = !outputs.is_empty();
        let skip = if hints.skip_unreferenced && !is_wanted { Skip::Unreferenced } else { Skip::Nothing };
        if is_wanted {
            if self.waiting.len() == WAITING
                && let Some((pts, _)) = self.waiting.pop_front()
            {
                answer(self.malformed(pts, "it never came out of the decoder"));
            }
            self.waiting.push_back((pts, outputs));
        }
        if let Err(why) = self.decoder.send(payload, pts, skip) {
            self.waiting.retain(|(waiting, _)| *waiting != pts);
            answer(self.malformed(pts, &why));
        }
        if hints.alone {
            self.finish(renderer, answer);
        } else {
            self.give_out(renderer, answer);
        }
    }

    /// Gives out everything that is still to come.
    pub(crate) fn flush(&mut self, renderer: &mut Renderer, token: u32, answer: &mut dyn FnMut(Answer)) {
        self.finish(renderer, answer);
        answer(Answer::Flushed { stream: self.number, token, cpu_us: std::mem::take(&mut self.cpu_us) });
    }

    fn finish(&mut self, renderer: &mut Renderer, answer: &mut dyn FnMut(Answer)) {
        self.decoder.drain();
        self.give_out(renderer, answer);
        self.decoder.reset();
        while let Some((pts, _)) = self.waiting.pop_front() {
            answer(self.malformed(pts, "it did not come out of the decoder"));
        }
    }

    fn give_out(&mut self, renderer: &mut Renderer, answer: &mut dyn FnMut(Answer)) {
        while let Some(received) = self.decoder.receive() {
            let picture = match received {
                Ok(picture) => picture,
                // Which picture it was is not told; its turn among those waited for ends with the next flush.
                Err(why) => {
                    let pts = self.waiting.front().map_or(i64::MIN, |(pts, _)| *pts);
                    answer(self.malformed(pts, &why));
                    continue;
                }
            };
            let pts = picture.pts();
            let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == pts) else { continue };
            let Some((_, outputs)) = self.waiting.remove(at) else { continue };
            let made = self.picture(renderer, &picture, &outputs);
            answer(made.unwrap_or_else(|why| self.malformed(pts, &why)));
        }
    }

    fn picture(
        &mut self,
        renderer: &mut Renderer,
        picture: &Picture,
        outputs: &[Output],
    ) -> Result<Answer, String> {
        if picture.is_corrupt() {
            return Err("parts of it cannot be decoded".to_owned());
        }
        let (width, height) = picture.size().ok_or("it has no size")?;
        let images =
            outputs.iter().map(|output| renderer.render(picture, output)).collect::<Result<_, _>>()?;
        let cpu_us = std::mem::take(&mut self.cpu_us);
        Ok(Answer::Picture { stream: self.number, pts: picture.pts(), width, height, cpu_us, images })
    }

    fn malformed(&mut self, pts: i64, why: &str) -> Answer {
        Answer::Malformed {
            stream: self.number,
            pts,
            cpu_us: std::mem::take(&mut self.cpu_us),
            why: why.to_owned(),
        }
    }
}
