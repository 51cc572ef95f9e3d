//! `causeway bytes`: what a link makes of a sample of records, next to what Kafka's own batches would be.

mod method;
mod producer;
mod sample;

use service::format::{bytes, grouped};

use crate::args;
use crate::exit::Failure;
use method::{Measured, Method};
use producer::Producer;
use sample::Sample;

/// Seconds of a month.
const MONTH: f64 = 365.25 / 12.0 * 86_400.0;
/// Bytes of a gigabyte, as clouds count them.
const GIGABYTE: f64 = 1e9;

/// Measures the sample with every method, and prints a table.
pub(crate) fn run(arguments: &args::Bytes) -> Result<(), Failure> {
    let sample = Sample::read(&arguments.file).map_err(Failure::Failed)?;
    let mean = sample.bytes() as f64 / sample.records().len() as f64;
    println!(
        "{} records of {mean:.0} B on average, {}",
        grouped(sample.records().len() as u64),
        bytes(sample.bytes() as u64)
    );
    let price = arguments.price_per_gb.map(|price| {
        let per_month = arguments.records_per_second * mean * MONTH / GIGABYTE;
        println!("{} records/s are {per_month:.1} GB of records per month", arguments.records_per_second);
        price * per_month
    });
    println!();
    let last = if price.is_some() { "per month" } else { "" };
    println!("{:<26} {:>10} {:>8} {:>9} {:>9} {last:>12}", "", "size", "ratio", "MB/s in", "MB/s out");
    for producer in Producer::ALL {
        line(&producer.to_string(), &producer.measure(&sample), &sample, price);
    }
    for method in Method::ALL {
        line(
            &format!("Causeway, {method}"),
            &method.measure(&sample, arguments.frame.bytes() as usize),
            &sample,
            price,
        );
    }
    println!();
    println!("Sizes include offsets, timestamps and lengths; QUIC adds about 4 %. MB/s are of records, for one core.");
    Ok(())
}

fn line(name: &str, measured: &Measured, sample: &Sample, price: Option<f64>) {
    let ratio = sample.bytes() as f64 / measured.bytes as f64;
    let speed = |seconds: f64| sample.bytes() as f64 / 1e6 / seconds;
    let [encode, decode] = [measured.encode, measured.decode].map(|seconds| match seconds {
        Some(seconds) => format!("{:.0}", speed(seconds)),
        None => String::new(),
    });
    let cost = price.map(|price| format!("{:.2}", price / ratio)).unwrap_or_default();
    println!("{name:<26} {:>10} {ratio:>7.2}x {encode:>9} {decode:>9} {cost:>12}", bytes(measured.bytes as u64));
}
