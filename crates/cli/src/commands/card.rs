//! `chartmesh card`.

use std::path::PathBuf;

use chartmesh_node::api::{ApiError, CardInfo, Request};
use clap::Args;
use qrcode::{QrCode, render::unicode::Dense1x2};

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    files::{self, Readers},
};

/// Print the ticket by which others find this node
#[derive(Debug, Args)]
pub(crate) struct Card {
    /// Draw it as a QR code as well
    #[arg(long)]
    qr: bool,
    /// Write the signed card to a file, for someone who cannot reach this node now
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Card {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let info: CardInfo = context.ask(Request::Card).await?;
        if let Some(out) = &self.out {
            let written = files::write(out, &from_hex(&info.signed)?, Readers::Umask)?;
            context.output.progress(written.words().trim_end());
        }
        let code = if self.qr { draw(&info.ticket)? } else { String::new() };
        context.output.answer(&info, |info| format!("{code}{}\n", info.ticket))?;
        Ok(Outcome::Done)
    }
}

/// Light on dark, as most terminals are, with the quiet zone that ISO/IEC 18004 wants.
fn draw(ticket: &str) -> Result<String, ApiError> {
    let code = QrCode::new(ticket).map_err(|error| ApiError::failed(format_args!("the ticket cannot be drawn: {error}")))?;
    Ok(format!("{}\n", code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build()))
}

fn from_hex(text: &str) -> Result<Vec<u8>, ApiError> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    pairs.collect::<Option<_>>().ok_or_else(|| ApiError::failed("the card of this node is damaged"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_ticket_fits_a_small_code() {
        let code = draw(&format!("chartmesh:{}", "A".repeat(110))).unwrap();
        assert!(code.lines().count() <= 30 && code.lines().all(|line| line.chars().count() <= 60));
    }

    proptest! {
        #[test]
        fn hexadecimal_reads_back(bytes: Vec<u8>) {
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(from_hex(&text).unwrap(), bytes);
            let odd = text + "0";
            prop_assert!(from_hex(&odd).is_err());
        }

        #[test]
        fn nonsense_is_an_error(text in "[g-z]{1,9}") {
            prop_assert!(from_hex(&text).is_err());
        }
    }
}
