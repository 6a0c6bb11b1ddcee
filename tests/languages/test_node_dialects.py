"""The published test programs of JavaScript, TypeScript and PHP, read as calls and expected values."""

import math

import pytest

from roles.problems.formats.dialects import Unparsed, javascript, php, typescript
from roles.records import Test

ASSERTS = """const assert = require('node:assert');


function test() {
  let candidate = add_all;
  assert.deepEqual(candidate([1, 2], "a;b),"),[3, {"k": undefined}]);
  assert.deepEqual(candidate(),-0.5);
}

test();"""
LODASH = """
const _ = require("lodash")

function compare(object1, object2){
    return _.isEqual(object1, object2)
}

var arg00 = [3, "x;"];
var arg01 = {"b":[1], 2:null};
var x0 = addAll(arg00, arg01);
var v0 = new Set([["y", 2]]);
if(!compare(x0, v0)){
    throw 'Error at 1th assert statement. Value = ' + JSON.stringify(x)
}

var x1 = addAll();
var v1 = true;
if(!compare(x1, v1)){
    throw 'Error at 2th assert statement. Value = ' + JSON.stringify(x)
}
"""
TYPED = """
import * as assert from 'assert'

let actual_1 = add_all(new Map<any, any>([["a", [1]]]),"b");
let expected_1 = new Map<any, any>([[[1, 3], 2], ["k", new Map<any, any>([])]]);
assert.deepEqual(actual_1, expected_1, "Exception --- test case 0 failed to pass");

let actual_2 = add_all();
let expected_2 = new Set<any>([]);
assert.deepEqual(actual_2, expected_2, "Exception --- test case 1 failed to pass");
"""
STRICT = """function candidate(...$args) {
    return add_all(...$args);
}

function test(): void {
    if (candidate(array("a" => 1), "!==") !== array(3, array("5" => null))) { throw new Exception("Test failed!"); }
    if (candidate() !== -0.5) { throw new Exception("Test failed!"); }
}

test();"""
LOOSE = """

function compare($x, $y) {
    return $x == $y;
}

$arg00 = [3, "x;"];
$arg01 = ["b" => [1], "2" => null];
$x0 = addAll($arg00, $arg01);
$v0 = ["y" => [1, 2], 7, 3 => 'it\\'s'];
if (!compare($x0, $v0)) {
    throw new Exception("Error at 1th assert statement.");
}
"""


def test_javascript_of_multipl_e() -> None:
    assert javascript.multipl_e(ASSERTS, "add_all") == (
        Test('add_all([1, 2], "a;b),")', "deep_equal(result, [3, {'k': None}])"),
        Test("add_all()", "deep_equal(result, -0.5)"),
    )


def test_javascript_of_mbxp() -> None:
    assert javascript.mbxp(LODASH, "addAll", "") == (
        Test('addAll([3, "x;"], {"b":[1], 2:null})', "same(result, set([('y', 2, )]))"),
        Test("addAll()", "same(result, True)"),
    )


def test_typescript() -> None:
    assert typescript.multipl_e("declare var require: any;\n" + ASSERTS, "add_all")[1].call == "add_all()"
    assert typescript.mbxp(TYPED, "add_all", "") == (
        Test('add_all(new Map<any, any>([["a", [1]]]), "b")', "deep_equal(result, {(1, 3, ): 2, 'k': {}})"),
        Test("add_all()", "deep_equal(result, set([]))"),
    )


def test_php() -> None:
    assert php.multipl_e(STRICT, "add_all") == (
        Test('add_all(array("a" => 1), "!==")', "identical(result, [3, {5: None}])"),
        Test("add_all()", "identical(result, -0.5)"),
    )
    call = 'addAll([3, "x;"], ["b" => [1], "2" => null])'
    check = """loosely_equal(result, {'y': [1, 2], 0: 7, 3: "it's"})"""
    assert php.mbxp(LOOSE, "addAll", "") == (Test(call, check),)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (javascript.multipl_e, ASSERTS.replace("deepEqual(candidate()", "notDeepEqual(candidate()")),
        (javascript.multipl_e, ASSERTS.replace("-0.5", "Math.PI")),
        (javascript.multipl_e, ASSERTS.replace("-0.5", "`${1}`")),
        (javascript.multipl_e, ASSERTS.replace("candidate(),", "other(),")),
        (javascript.multipl_e, ASSERTS.replace("test();", "tests();")),
        (php.multipl_e, STRICT.replace("-0.5", "-M_PI")),
        (php.multipl_e, STRICT.replace("-0.5", '"$x"')),
        (php.multipl_e, STRICT.replace("candidate() !==", "candidate() !=")),
        (php.multipl_e, STRICT.replace('array("5"', "array(array(5)")),
    ],
)
def test_anything_else_is_not_read(read, text) -> None:
    with pytest.raises(Unparsed):
        read(text, "add_all")


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (javascript.value, "[1, 2.50, -3e2, 0x1F, .5, 12n]", [1, 2.5, -300.0, 31, 0.5, 12]),
        (javascript.value, "12345678901234567890", 12345678901234567890.0),
        (javascript.value, r"'\n\x41\u{1f600}\u00e9\q\''", "\nA\U0001f600\u00e9q'"),
        (javascript.value, "{a: 1, 'b c': [], 3: {}, ['k']: null,}", {"a": 1, "b c": [], "3": {}, "k": None}),
        (javascript.value, "-Infinity", -math.inf),
        (php.value, "array(1, 'a' => 2, 5 => 3, 4)", {0: 1, "a": 2, 5: 3, 6: 4}),
        (php.value, "[true, NULL, -1.5, 9223372036854775808]", [True, None, -1.5, 9223372036854775808.0]),
        (php.value, r'"a\n\$b\x41\u{e9}\q"', "a\n$bA\u00e9\\q"),
        (php.value, r"'a\n\'\\'", "a\\n'\\"),
        (php.value, "['1' => 'a', true => 'b', '01' => 'c']", {1: "b", "01": "c"}),
    ],
)
def test_literals(read, text, value) -> None:
    assert read(text) == value and type(read(text)) is type(value)
