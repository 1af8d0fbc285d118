use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{ConnectError, Connector, Resolve, SystemResolver};
use crate::outbound::host::Host;
use crate::outbound::policy::Reach;
use crate::outbound::tests::{Scripted, config};

async fn addresses(reach: Reach, found: &[&str]) -> Result<Vec<String>, String> {
    let resolver = Scripted::new(&[found]);
    let resolve = Arc::clone(&resolver) as Arc<dyn Resolve>;
    let connector = Connector::new(reach, &config(), &resolve);
    let name = Host::parse("name.example").expect("a name");
    let addresses = connector.addresses(&name).await;
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 1);
    match addresses {
        Ok(addresses) => Ok(addresses.iter().map(IpAddr::to_string).collect()),
        Err(ConnectError::Forbidden { address, .. }) => Err(address.to_string()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn addresses_are_filtered_one_by_one() {
    let mixed = [
        "10.0.0.5",
        "93.184.216.34",
        "169.254.169.254",
        "::1",
        "2606:4700::1111",
    ];
    let public = addresses(Reach::Public, &mixed).await;
    assert_eq!(
        public.expect("two are public"),
        ["93.184.216.34", "2606:4700::1111"]
    );
    let private = addresses(Reach::Private, &mixed).await;
    let expected = ["10.0.0.5", "93.184.216.34", "::1", "2606:4700::1111"];
    assert_eq!(private.expect("four are no special ones"), expected);
}

#[tokio::test]
async fn names_never_lead_to_special_addresses() {
    for special in [
        "169.254.169.254",
        "168.63.129.16",
        "0.0.0.0",
        "fd00:ec2::254",
        "fe80::1",
    ] {
        for reach in [Reach::Public, Reach::Private] {
            assert_eq!(addresses(reach, &[special]).await, Err(special.to_owned()));
        }
    }
    let private = addresses(Reach::Public, &["192.168.1.1", "127.0.0.1"]).await;
    assert_eq!(private, Err("192.168.1.1".to_owned()));
}

#[tokio::test]
async fn an_address_is_itself_where_the_manifest_holds_it() {
    let resolver = Scripted::new(&[&["93.184.216.34"]]);
    let resolve = Arc::clone(&resolver) as Arc<dyn Resolve>;
    for address in ["169.254.169.254", "127.0.0.1", "93.184.216.34"] {
        let host = Host::parse(address).expect("an address");
        let private = Connector::new(Reach::Private, &config(), &resolve);
        let addresses = private.addresses(&host).await.expect("any address");
        assert_eq!(addresses, [address.parse::<IpAddr>().expect("an address")]);
        let public = Connector::new(Reach::Public, &config(), &resolve);
        assert_eq!(
            public.addresses(&host).await.is_ok(),
            address.starts_with("93"),
            "{address}"
        );
    }
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_system_knows_itself() {
    let found = SystemResolver::shared()
        .resolve("localhost")
        .await
        .expect("an answer");
    assert!(
        !found.is_empty() && found.iter().all(IpAddr::is_loopback),
        "{found:?}"
    );
}
