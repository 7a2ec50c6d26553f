use super::*;
use proptest::prelude::*;

const ALL: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!DOCTYPE plist PUBLIC \"-//Apple Computer//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">
<plist version=\"1.0\">
<dict>
\t<key>array</key>
\t<array>
\t\t<string>a&lt;=1 &amp; b&gt;2 \"'ü</string>
\t\t<string/>
\t\t<dict/>
\t\t<array/>
\t</array>
\t<key>data</key>
\t<data>AAH/</data>
\t<key>largest</key>
\t<integer>18446744073709551615</integer>
\t<key>smallest</key>
\t<integer>-9223372036854775808</integer>
\t<key>true</key>
\t<true/>
\t<key>wrong</key>
\t<false/>
</dict>
</plist>
";

#[test]
fn every_kind_of_value_is_read_and_written_as_xbps_does() {
    let dict = parse(ALL.as_bytes()).unwrap();
    assert_eq!(strings(&dict, "array"), ["a<=1 & b>2 \"'ü", ""]);
    assert_eq!(dict["data"], Value::Data(vec![0, 1, 255]));
    assert_eq!(number(&dict, "largest"), Some(u64::MAX));
    assert_eq!((&dict["true"], &dict["wrong"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!(String::from_utf8(write(&dict)).unwrap(), ALL);
}

#[test]
fn the_keys_of_void_are_written_as_they_were() {
    let file = include_bytes!("../keys/60ae0cd6f0951780bc93467a89afa32d.plist");
    assert_eq!(write(&parse(file).unwrap()), file);
}

#[test]
fn other_ways_to_write_the_same_are_read() {
    let text = "<plist><!-- c --><dict><key>a&#x41;</key><integer>0x10</integer>\
        <key>b</key><data>\n\tAA\n\tH/\n</data><key>c</key><string><![CDATA[<]]></string>\
        </dict></plist>";
    let dict = parse(text.as_bytes()).unwrap();
    assert_eq!(number(&dict, "aA"), Some(16));
    assert_eq!(dict["b"], Value::Data(vec![0, 1, 255]));
    assert_eq!(string(&dict, "c"), Some("<"));
}

#[test]
fn what_is_no_property_list_is_refused() {
    let deep = format!("<plist>{}</plist>", "<array>".repeat(40));
    let told: Vec<_> = [
        "",
        "text",
        "<dict/>",
        "<plist></plist>",
        "<plist><array/></plist>",
        "<plist><dict/><dict/></plist>",
        "<plist><dict><true/></dict></plist>",
        "<plist><dict><key>a</key></dict></plist>",
        "<plist><dict><key>a</key><key>b</key></dict></plist>",
        "<plist><dict><key>a</key><true/><key>a</key><true/></dict></plist>",
        "<plist><dict><key>a</key><integer>1e3</integer></dict></plist>",
        "<plist><dict><key>a</key><integer>18446744073709551616</integer></dict></plist>",
        "<plist><dict><key>a</key><data>?</data></dict></plist>",
        "<plist><dict><key>a</key><date>1</date></dict></plist>",
        "<plist><dict><key>a</key><string>&x;</string></dict></plist>",
        "<plist><dict><key>a<b/></key></dict></plist>",
        "<plist><dict>text</dict></plist>",
        "<plist><dict>",
        "<plist><dict></array></plist>",
        &deep,
    ]
    .map(|text| parse(text.as_bytes()).unwrap_err().to_string())
    .into();
    insta::assert_snapshot!(told.join("\n"), @r"
    it is no property list: it ends early
    it is no property list: there is text outside of values
    it is no property list: it does not begin with <plist>
    it is no property list: it ends early
    it is no property list: it is not a dictionary
    it is no property list: it has more than one value
    it is no property list: a value has no key
    it is no property list: the key 'a' has no value
    it is no property list: the key 'b' is in the wrong place
    it is no property list: it has the key 'a' twice
    it is no property list: '1e3' is not a number of 64 bits
    it is no property list: '18446744073709551616' is not a number of 64 bits
    it is no property list: its data is not base64
    it is no property list: 'date' is nothing that it can have
    it is no property list: <string>: an entity that XML does not have
    it is no property list: <key>: another element is in it
    it is no property list: there is text outside of values
    it is no property list: it ends early
    it is no property list: ill-formed document: expected `</dict>`, but `</array>` was found
    it is no property list: it is more than 32 deep
    ");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        "[ -~\n\tü]{0,12}".prop_map(Value::String),
        any::<i64>().prop_map(|n| Value::Integer(n.into())),
        any::<u64>().prop_map(|n| Value::Integer(n.into())),
        any::<bool>().prop_map(Value::Bool),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(Value::Data),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map("[!-~]{1,9}", inner, 0..4).prop_map(Value::Dict),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(dict in proptest::collection::btree_map("[!-~]{1,9}", value(), 0..5)) {
        prop_assert_eq!(parse(&write(&dict)), Ok(dict));
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        at in 0..ALL.len(),
    ) {
        let _ = parse(&bytes);
        let changed = [&ALL.as_bytes()[..at], &bytes, &ALL.as_bytes()[at..]].concat();
        let _ = parse(&changed);
    }
}
