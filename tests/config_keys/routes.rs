//! The keys of the rules of operators.

/// As the cases of all other keys.
pub(crate) const CASES: &[(&str, &str, &str)] = &[
    (
        "routes.N.name",
        "+[[routes]]\nname = \"x\"\nrefuse = true\n",
        "+[[routes]]\nname = \"y\"\nrefuse = true\n",
    ),
    ("routes.N.method", "+RULE", "+RULEmethod = \"POST\"\n"),
    ("routes.N.path", "+RULE", "+RULEpath = \"/rest/**\"\n"),
    ("routes.N.service", "+RULE", "+RULEservice = \"WFS\"\n"),
    (
        "routes.N.operation",
        "+RULE",
        "+RULEoperation = \"Transaction\"\n",
    ),
    ("routes.N.workspace", "+RULE", "+RULEworkspace = \"topp\"\n"),
    ("routes.N.layer", "+RULE", "+RULElayer = \"topp:states\"\n"),
    ("routes.N.header", "+RULE", "+RULEheader = \"X-Team: a\"\n"),
    ("routes.N.from", "+RULE", "+RULEfrom = \"10.0.0.0/8\"\n"),
    (
        "routes.N.not_from",
        "+RULE",
        "+RULEnot_from = \"10.0.0.0/8\"\n",
    ),
    ("routes.N.refuse", "+[[routes]]\nallow = true\n", "+RULE"),
    ("routes.N.allow", "+RULE", "+[[routes]]\nallow = true\n"),
    ("routes.N.class", "+GROUP", "+GROUPclass = \"map\"\n"),
    (
        "routes.N.upstreams",
        "+GROUP",
        "+[[routes]]\nupstreams = [\"slave1\", \"main\"]\n",
    ),
    ("routes.N.only", "+GROUP", "+GROUPonly = true\n"),
];
