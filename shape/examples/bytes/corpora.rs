//! Corpora: made from a seed, or read from files.

use std::path::Path;

use crate::random::Random;

/// Bytes of a corpus, at most.
const BYTES_MAX: usize = 8 << 20;

/// Records with a name.
pub(crate) struct Corpus {
    pub(crate) name: String,
    pub(crate) records: Vec<Vec<u8>>,
}

/// Corpora that need no files.
pub(crate) fn made() -> Vec<Corpus> {
    vec![
        make("orders", order),
        make("orders.csv", order_csv),
        make("nested", event),
        make("nginx", web_log),
        make("app", application_log),
        make("metrics", metric),
        make("dynamic", dynamic_keys),
        make("text", free_text),
        make("random", noise),
    ]
}

fn make(name: &str, record: fn(u64, &mut Random) -> Vec<u8>) -> Corpus {
    let mut random = Random::new(name.len() as u64 * 7 + 1);
    let mut bytes = 0;
    let records = (0..).map(|number| record(number, &mut random)).take_while(|record| {
        bytes += record.len();
        bytes <= BYTES_MAX
    });
    Corpus { name: name.to_owned(), records: records.collect() }
}

/// Reads the corpora that a file gives.
pub(crate) fn read(path: &Path) -> std::io::Result<Vec<Corpus>> {
    let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if name == "flights" {
        let flights: Vec<String> = flights(&text);
        let changes = flights.iter().enumerate().map(|(number, flight)| change(number as u64, flight)).collect();
        let csv = text.lines().skip(1).map(|line| line.as_bytes().to_vec()).collect();
        let flights = flights.into_iter().map(String::into_bytes).collect();
        return Ok(vec![limit(name, flights), limit("changes".into(), changes), limit("flights.csv".into(), csv)]);
    }
    if path.extension().is_some_and(|extension| extension == "json") {
        return Ok(vec![limit(name, elements(&text))]);
    }
    Ok(vec![limit(name, text.lines().map(|line| line.as_bytes().to_vec()).collect())])
}

fn limit(name: String, mut records: Vec<Vec<u8>>) -> Corpus {
    let mut bytes = 0;
    records.retain(|record| {
        bytes += record.len();
        bytes <= BYTES_MAX
    });
    Corpus { name, records }
}

/// Flights as JSON. Missing numbers are the string `NA`, as the set writes them.
fn flights(csv: &str) -> Vec<String> {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let row = |line: &str| {
        let fields = names.iter().zip(line.split(',')).map(|(name, value)| {
            let value = if value.is_empty() { "NA" } else { value };
            if value.parse::<f64>().is_ok() {
                format!("\"{name}\": {value}")
            } else {
                format!("\"{name}\": \"{value}\"")
            }
        });
        format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
    };
    lines.map(row).collect()
}

/// Change event around a row, as Debezium writes it for Postgres.
fn change(number: u64, row: &str) -> Vec<u8> {
    let mut random = Random::new(number);
    let at = 1_700_000_000_000 + number * 37 + random.below(30);
    let lsn = 24_023_128 + number * 312 + random.below(8) * 40;
    let is_update = number % 3 == 1;
    let before = if is_update { row.replacen("\"minute\": ", "\"minute\": 1", 1) } else { "null".to_owned() };
    let operation = if is_update { "u" } else { "c" };
    format!(
        "{{\"before\":{before},\"after\":{row},\"source\":{{\"version\":\"2.5.0.Final\",\"connector\":\"postgresql\",\
         \"name\":\"flights\",\"ts_ms\":{at},\"snapshot\":\"false\",\"db\":\"travel\",\
         \"sequence\":\"[\\\"{}\\\",\\\"{lsn}\\\"]\",\"schema\":\"public\",\"table\":\"flights\",\"txId\":{},\
         \"lsn\":{lsn},\"xmin\":null}},\"op\":\"{operation}\",\"ts_ms\":{},\"transaction\":null}}",
        lsn - 56,
        700 + number / 3,
        at + 100 + random.below(400)
    )
    .into_bytes()
}

/// Elements of the first array of objects in a JSON text.
fn elements(text: &str) -> Vec<Vec<u8>> {
    let is_of_objects = |(at, _): &(usize, &str)| text[at + 1..].trim_start().starts_with('{');
    let start = text.match_indices('[').find(is_of_objects).map_or(0, |(at, _)| at + 1);
    let mut records = Vec::new();
    let mut depth = 0;
    let mut begin = 0;
    let mut in_string = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                if depth == 0 {
                    begin = at;
                }
                depth += 1;
            }
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    records.push(text.as_bytes()[begin..=at].to_vec());
                }
                if depth < 0 {
                    break;
                }
            }
            _ => {}
        }
    }
    records
}

const WORDS: [&str; 24] = [
    "carefully",
    "quickly",
    "final",
    "pending",
    "deposits",
    "requests",
    "sleep",
    "haggle",
    "above",
    "the",
    "ironic",
    "accounts",
    "blithely",
    "express",
    "packages",
    "cajole",
    "among",
    "furiously",
    "regular",
    "theodolites",
    "nag",
    "even",
    "instructions",
    "boost",
];

fn sentence(random: &mut Random, words: u64) -> String {
    let words: Vec<&str> = (0..words).map(|_| WORDS[random.below(24) as usize]).collect();
    words.join(" ")
}

/// Order of a wholesaler.
struct Order {
    key: u64,
    customer: u64,
    status: &'static str,
    price: (u64, u64),
    date: (u64, u64, u64),
    priority: &'static str,
    clerk: u64,
    comment: String,
}

impl Order {
    fn draw(number: u64, random: &mut Random) -> Self {
        let words = 3 + random.below(8);
        Self {
            key: number / 8 * 32 + number % 8,
            customer: random.below(150_000),
            status: ["O", "F", "P"][random.skewed(3) as usize],
            price: (1_000 + random.below(300_000), random.below(100)),
            date: (2 + random.below(7), 1 + random.below(12), 1 + random.below(28)),
            priority: ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"][random.below(5) as usize],
            clerk: random.below(1_000),
            comment: sentence(random, words),
        }
    }
}

fn order(number: u64, random: &mut Random) -> Vec<u8> {
    let Order { key, customer, status, price, date, priority, clerk, comment } = Order::draw(number, random);
    format!(
        "{{\"o_orderkey\":{key},\"o_custkey\":{customer},\"o_orderstatus\":\"{status}\",\"o_totalprice\":{}.{:02},\"o_orderdate\":\"199{}-{:02}-{:02}\",\"o_orderpriority\":\"{priority}\",\"o_clerk\":\"Clerk#{clerk:09}\",\"o_shippriority\":0,\"o_comment\":\"{comment}\"}}",
        price.0, price.1, date.0, date.1, date.2,
    )
    .into_bytes()
}

fn order_csv(number: u64, random: &mut Random) -> Vec<u8> {
    let Order { key, customer, status, price, date, priority, clerk, comment } = Order::draw(number, random);
    format!(
        "{key},{customer},{status},{}.{:02},199{}-{:02}-{:02},{priority},Clerk#{clerk:09},0,{comment}",
        price.0, price.1, date.0, date.1, date.2,
    )
    .into_bytes()
}

fn uuid(random: &mut Random) -> String {
    let [a, b] = [random.next(), random.next()];
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        0x8000 | b >> 50,
        b & 0xffff_ffff_ffff
    )
}

/// Event with a UUID, floats, optional fields and three orders of its keys.
fn event(number: u64, random: &mut Random) -> Vec<u8> {
    let ms = 1_714_000_000_000 + number * 13 + random.below(13);
    let seconds = ms / 1_000 % 86_400;
    let time =
        format!("2024-04-25T{:02}:{:02}:{:02}.{:03}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60, ms % 1_000);
    let mut parts = vec![
        format!("\"id\":\"{}\"", uuid(random)),
        format!("\"session\":\"{:014x}{:014x}\"", random.next() >> 8, random.next() >> 8),
        format!("\"time\":\"{time}\""),
        format!(
            "\"user\":{{\"id\":{},\"plan\":\"{}\"}}",
            random.skewed(50_000),
            ["free", "pro", "team"][random.skewed(3) as usize]
        ),
        format!("\"geo\":{{\"lat\":{:.6},\"lon\":{:.6}}}", random.unit() * 180.0 - 90.0, random.unit() * 360.0 - 180.0),
        format!("\"tags\":[\"{}\",\"{}\"]", WORDS[random.skewed(24) as usize], WORDS[random.skewed(24) as usize]),
        format!("\"score\":{}", random.unit()),
    ];
    if random.below(4) == 0 {
        parts.push(format!("\"referrer\":\"https://example.com/{}\"", WORDS[random.skewed(24) as usize]));
    }
    if random.below(3) == 0 {
        parts.push("\"mobile\":true".to_owned());
    }
    let order = random.below(3) as usize;
    parts.rotate_left(order * 2);
    format!("{{{}}}", parts.join(",")).into_bytes()
}

const MONTH_DAYS: u64 = 28;

fn web_log(number: u64, random: &mut Random) -> Vec<u8> {
    let seconds = number / 9;
    let address = random.skewed(20_000);
    let page = random.skewed(3_000);
    let status = [200, 200, 200, 200, 200, 200, 304, 404, 500][random.below(9) as usize];
    let size = if status == 200 { 300 + page * 7_919 % 60_000 } else { 0 };
    let agent = random.skewed(400);
    format!(
        "{}.{}.{}.{} - - [{:02}/Oct/2023:{:02}:{:02}:{:02} +0000] \"GET /{}/{}.html HTTP/1.1\" {status} {size} \"https://example.com/{}\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.{} (KHTML, like Gecko) Chrome/{}.0.{}.0 Safari/537.{}\"",
        10 + address % 200,
        address * 7 % 256,
        address * 31 % 256,
        address * 131 % 256,
        1 + seconds / 86_400 % MONTH_DAYS,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        WORDS[page as usize % 24],
        page,
        WORDS[page as usize % 7],
        agent % 40,
        90 + agent % 30,
        agent * 17 % 5_000,
        agent % 40
    )
    .into_bytes()
}

fn application_log(number: u64, random: &mut Random) -> Vec<u8> {
    let ms = number * 23 + random.below(20);
    let seconds = ms / 1_000;
    let level = ["INFO ", "INFO ", "INFO ", "DEBUG", "WARN ", "ERROR"][random.skewed(6) as usize];
    let [a, b] = [random.below(100_000), random.skewed(5_000)];
    let message = match random.skewed(9) {
        0 => format!("c.e.web.Handler - Request {a:08x} completed in {b} ms with status 200"),
        1 => format!("c.e.auth.Login - User {a} logged in from 10.{}.{}.{}", a % 256, b % 256, a * b % 256),
        2 => format!("c.e.db.Pool - Acquired connection {} of {} after {b} ms", a % 64, 64),
        3 => format!("c.e.cache.Store - Evicted {b} entries, {a} bytes freed"),
        4 => format!("c.e.queue.Consumer - Committed offset {} for partition orders-{}", number * 3 + a % 3, a % 12),
        5 => format!("c.e.jobs.Runner - Job {} started", uuid(random)),
        6 => format!("c.e.jobs.Runner - Job {} failed: timeout after {b} ms", uuid(random)),
        7 => format!("c.e.mail.Sender - Sent message {a} to shard {}", b % 16),
        _ => "c.e.health.Check - All components healthy".to_owned(),
    };
    format!(
        "2024-05-{:02} {:02}:{:02}:{:02},{:03} {level} [worker-{}] {message}",
        1 + seconds / 86_400 % MONTH_DAYS,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        ms % 1_000,
        random.below(16)
    )
    .into_bytes()
}

fn metric(number: u64, random: &mut Random) -> Vec<u8> {
    let series = number % 480;
    let scrape = number / 480;
    let name = ["http_requests_total", "process_cpu_seconds_total", "node_memory_free_bytes", "queue_depth"]
        [(series % 4) as usize];
    let value = match series % 4 {
        0 => format!("{}", series * 1_000 + scrape * (series % 17) + random.below(3)),
        1 => format!("{}.{:02}", series + scrape / 3, random.below(100)),
        2 => format!("{}", (series * 7_919 + 4_000_000 + random.below(64)) * 4_096),
        _ => format!("{}", random.skewed(6)),
    };
    format!(
        "{{\"__name__\":\"{name}\",\"instance\":\"10.0.{}.{}:9100\",\"job\":\"node\",\"region\":\"eu-central-{}\",\"timestamp\":{},\"value\":\"{value}\"}}",
        series % 4,
        series % 20,
        series % 3,
        1_714_000_000_000 + scrape * 15_000 + series % 480 / 40
    )
    .into_bytes()
}

/// Ids as keys.
fn dynamic_keys(_: u64, random: &mut Random) -> Vec<u8> {
    let entries =
        (0..3 + random.below(4)).map(|_| format!("\"user-{:x}\":{{\"n\":{}}}", random.next() >> 24, random.below(100)));
    format!("{{{}}}", entries.collect::<Vec<_>>().join(",")).into_bytes()
}

fn free_text(_: u64, random: &mut Random) -> Vec<u8> {
    let letters = |random: &mut Random| {
        let word = random.skewed(20_000);
        let mut seed = Random::new(word + 11);
        (0..2 + seed.below(8)).map(|_| char::from(b'a' + seed.skewed(26) as u8)).collect::<String>()
    };
    let words: Vec<String> = (0..20 + random.below(60)).map(|_| letters(random)).collect();
    words.join(" ").into_bytes()
}

fn noise(_: u64, random: &mut Random) -> Vec<u8> {
    (0..128).flat_map(|_| random.next().to_le_bytes()).collect()
}
