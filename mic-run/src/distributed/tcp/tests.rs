use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread;

use candle_core::{Device, Tensor};

use super::*;
use crate::distributed::{Launcher, same_everywhere};

const SOON: Patience = Patience {
    start: Duration::from_secs(20),
    silent: Duration::from_secs(20),
};

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn launch(rank: usize, world_size: usize, port: u16) -> Launch {
    Launch {
        rank,
        world_size,
        local_rank: rank,
        master_addr: Some("127.0.0.1".to_owned()),
        master_port: port,
        job: "test".to_owned(),
        launcher: Launcher::Torchrun,
    }
}

/// Runs `work` as every rank of `n` and returns what each gave.
fn ranks<T: Send>(n: usize, patience: Patience, work: impl Fn(Tcp) -> T + Sync) -> Vec<T> {
    let port = free_port();
    thread::scope(|scope| {
        let work = &work;
        let start = |rank| {
            scope.spawn(move || work(Tcp::connect(&launch(rank, n, port), patience).unwrap()))
        };
        let threads: Vec<_> = (0..n).map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// Values whose sum depends on the order.
fn value(rank: usize, i: usize) -> f32 {
    let i = (i * 31 + rank * 17) % 101;
    (i as f32 - 50.0) * 1.1f32.powi((i % 23) as i32)
}

#[test]
fn sums_are_right_and_the_same_bits_on_every_rank_and_again() {
    for (n, length) in [(2, 200_001), (3, 200_001), (4, 3), (5, 0), (7, 140_000)] {
        let sum = |mut tcp: Tcp| {
            let mut values: Vec<f32> = (0..length).map(|i| value(tcp.rank(), i)).collect();
            tcp.all_reduce_f32(&mut values).unwrap();
            let mut doubles = [tcp.rank() as f64 + 0.5; 3];
            tcp.all_reduce_f64(&mut doubles).unwrap();
            tcp.finish().unwrap();
            assert_eq!(doubles, [(n * n) as f64 / 2.0; 3]);
            values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        let first = ranks(n, SOON, sum);
        let again = ranks(n, SOON, sum);
        assert!(first.iter().chain(&again).all(|bits| bits == &first[0]));
        for (i, bits) in first[0].iter().enumerate() {
            let wanted: f64 = (0..n).map(|rank| f64::from(value(rank, i))).sum();
            let size: f64 = (0..n).map(|rank| f64::from(value(rank, i)).abs()).sum();
            let error = (f64::from(f32::from_bits(*bits)) - wanted).abs();
            assert!(error <= size * n as f64 * 1e-7, "{n} ranks, value {i}");
        }
    }
}

#[test]
fn bytes_go_from_rank_0_to_all_and_from_all_to_all() {
    let large: Vec<u8> = (0..3_000_000).map(|i| (i % 251) as u8).collect();
    ranks(4, SOON, |mut tcp| {
        for wanted in [&large[..], &[], &[5, 6]] {
            let mut bytes = match tcp.rank() {
                0 => wanted.to_vec(),
                rank => vec![9; rank],
            };
            tcp.broadcast(&mut bytes).unwrap();
            assert!(bytes == wanted);
        }
        let own = vec![tcp.rank() as u8; tcp.rank()];
        let all = tcp.all_gather(&own).unwrap();
        assert_eq!(all, [vec![], vec![1], vec![2, 2], vec![3, 3, 3]]);
        let rank = tcp.rank();
        assert!(tcp.any(rank == 2).unwrap());
        assert!(!tcp.any(false).unwrap());
        tcp.barrier().unwrap();
    });
}

#[test]
fn a_process_that_ends_is_noticed_by_all_others() {
    let messages = ranks(3, SOON, |mut tcp| {
        tcp.barrier().unwrap();
        if tcp.rank() == 1 {
            return String::new();
        }
        let mut values = vec![1f32; 1 << 20];
        let error = tcp.all_reduce_f32(&mut values).unwrap_err().to_string();
        // Nothing works afterwards.
        assert!(tcp.barrier().unwrap_err().to_string().contains("earlier"));
        error
    });
    assert!(messages[2].contains("process 1 has ended"), "{messages:?}");
    assert!(messages[0].contains("has ended"), "{messages:?}");
}

#[test]
fn a_silent_process_is_not_waited_for_longer_than_allowed() {
    let hasty = Patience {
        silent: Duration::from_millis(200),
        ..SOON
    };
    let messages = ranks(2, hasty, |mut tcp| {
        if tcp.rank() == 1 {
            thread::sleep(Duration::from_millis(800));
            return String::new();
        }
        tcp.barrier().unwrap_err().to_string()
    });
    assert!(messages[0].contains("process 1 has not answered for 200ms"));
}

#[test]
fn ranks_that_do_different_things_are_told_so() {
    let messages = ranks(2, SOON, |mut tcp| {
        let mut values = vec![0f32; 10 + 2 * tcp.rank()];
        tcp.all_reduce_f32(&mut values).unwrap_err().to_string()
    });
    assert!(messages.iter().any(|m| m.contains("do different things")));
    let messages = ranks(2, SOON, |mut tcp| match tcp.rank() {
        0 => tcp.barrier().unwrap_err().to_string(),
        _ => tcp.all_reduce_f32(&mut [1.0]).unwrap_err().to_string(),
    });
    assert!(messages.iter().any(|m| m.contains("an all-gather")));
}

#[test]
fn different_configurations_are_refused_by_every_rank() {
    let messages = ranks(3, SOON, |mut tcp| {
        let batch = if tcp.rank() == 1 { 4 } else { 2 };
        let text = format!("seed = 0\nbatch = {batch}\n");
        same_everywhere(&mut tcp, "the seed", b"seed = 0").unwrap();
        let error = same_everywhere(&mut tcp, "the configuration", text.as_bytes());
        // The communicator goes on: nothing was lost.
        tcp.finish().unwrap();
        error.unwrap_err().to_string()
    });
    for message in messages {
        let wanted = "the configuration is not the same in all processes: rank 1 has \"batch = 4\" \
                      where rank 0 has \"batch = 2\"";
        assert!(message.starts_with(wanted), "{message}");
    }
}

#[test]
fn part_of_a_tensor_is_summed_in_place() {
    ranks(2, SOON, |mut tcp| {
        let all = Tensor::full(1f64, (3, 2), &Device::Cpu).unwrap();
        let row = all.narrow(0, 1, 1).unwrap();
        tcp.all_reduce_tensor(&row).unwrap();
        let values = all.to_vec2::<f64>().unwrap();
        assert_eq!(values, [[1.0, 1.0], [2.0, 2.0], [1.0, 1.0]]);
        let column = all.narrow(1, 1, 1).unwrap();
        let error = tcp.all_reduce_tensor(&column).unwrap_err().to_string();
        assert!(error.contains("a contiguous tensor is needed"), "{error}");
        tcp.finish().unwrap();
    });
}

#[test]
fn rank_0_names_who_has_not_come() {
    let port = free_port();
    let hasty = Patience {
        start: Duration::from_millis(600),
        ..SOON
    };
    let message = |launch: &Launch| match Tcp::connect(launch, hasty) {
        Ok(_) => panic!("connected"),
        Err(error) => error.to_string(),
    };
    thread::scope(|scope| {
        let host = scope.spawn(|| message(&launch(0, 4, port)));
        let guest = scope.spawn(|| message(&launch(2, 4, port)));
        let told_otherwise = scope.spawn(|| message(&launch(1, 3, port)));
        let host = host.join().unwrap();
        assert!(host.contains("of 4 processes"), "{host}");
        assert!(
            host.contains("in time: 1, 3; refused: process 1 was told"),
            "{host}"
        );
        let guest = guest.join().unwrap();
        assert!(guest.contains("process 0 has ended"), "{guest}");
        let refused = told_otherwise.join().unwrap();
        assert!(
            refused.contains("told of 3 processes, rank 0 of 4"),
            "{refused}"
        );
    });
    let alone = message(&launch(1, 2, port));
    assert!(
        alone.contains("rank 0 cannot be reached at 127.0.0.1"),
        "{alone}"
    );
}

#[test]
fn strangers_and_other_jobs_are_turned_away() {
    let port = free_port();
    thread::scope(|scope| {
        let host = scope.spawn(move || Tcp::connect(&launch(0, 2, port), SOON).unwrap());
        let mut stranger = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break stream,
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        };
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let other = Launch {
            job: "other".to_owned(),
            ..launch(1, 2, port)
        };
        let error = Tcp::connect(&other, SOON)
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("belongs to job \"other\", rank 0 to job \"test\""),
            "{error}"
        );
        let mut guest = Tcp::connect(&launch(1, 2, port), SOON).unwrap();
        let mut host = host.join().unwrap();
        let host = scope.spawn(move || host.barrier().unwrap());
        guest.barrier().unwrap();
        host.join().unwrap();
    });
}

#[test]
fn a_taken_port_and_a_foreign_service_are_explained() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let message = |rank| match Tcp::connect(&launch(rank, 2, port), SOON) {
        Ok(_) => panic!("connected"),
        Err(error) => error.to_string(),
    };
    assert!(message(0).contains("set MASTER_PORT to a free one"));
    let service = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&[b'x'; 64]).unwrap();
        stream
    });
    assert!(message(1).contains("is not rank 0"));
    drop(service.join());
}

#[test]
fn the_time_out_is_read_from_its_variable() {
    let patience = Patience::from_seconds("12.5").unwrap();
    assert_eq!(patience.silent, Duration::from_millis(12_500));
    assert_eq!(patience.start, Duration::from_millis(12_500));
    let long = Patience::from_seconds("7200").unwrap();
    assert_eq!(long.start, Patience::default().start);
    for text in ["", "0", "-1", "soon", "inf"] {
        let message = Patience::from_seconds(text).unwrap_err().to_string();
        assert!(message.contains("MIC_TIMEOUT_SECONDS"), "{message}");
    }
}
