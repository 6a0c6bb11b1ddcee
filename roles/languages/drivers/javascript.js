// Loads the program, answers the calls. The functions it needs are bound before the program runs.
(() => {
  const fs = require('fs'), vm = require('vm');
  const calls = JSON.parse(fs.readFileSync('calls.json', 'utf8'));
  const nonce = process.argv[process.argv.length - 1];
  process.argv.pop();
  const writeSync = fs.writeSync, stringify = JSON.stringify, isArray = Array.isArray, isInteger = Number.isInteger;
  const is = Object.is, prototype = Object.getPrototypeOf, plain = Object.prototype, keys = Object.keys;
  const {MapEntries, SetValues} = {MapEntries: Map.prototype.entries, SetValues: Set.prototype.values};
  const LARGEST = LARGEST_FRAME, NODES = 200000, DEPTH = 100;
  class TooLarge extends Error {}

  function send(...frame) {
    let line = stringify(frame).replace(/[\u0080-\uffff]/g, c => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
    if (line.length > LARGEST) line = stringify([frame[0], 'big']);
    const bytes = Buffer.from(nonce + ' ' + line + '\n', 'latin1');
    for (let done = 0; done < bytes.length;) done += writeSync(3, bytes, done);
  }

  function encode(x, left, depth) {
    left.nodes -= 1 + (typeof x === 'string' ? x.length >> 4 : 0);
    if (left.nodes < 0 || depth > DEPTH) throw new TooLarge();
    const each = y => encode(y, left, depth + 1);
    switch (typeof x) {
      case 'undefined': return null;
      case 'boolean': case 'string': return x;
      case 'number': return isInteger(x) && !is(x, -0) && x >= -1e15 && x <= 1e15 ? ['j', '' + x] : ['e', '' + (is(x, -0) ? '-0.0' : x)];
      case 'bigint': return ['i', x.toString(16)];
      case 'object': break;
      default: return ['o', typeof x];
    }
    if (x === null) return null;
    if (isArray(x)) return ['l', ...Array.from(x, each)];
    if (x instanceof Map) return ['d', ...Array.from(MapEntries.call(x), ([k, v]) => [each(k), each(v)])];
    if (x instanceof Set) return ['s', ...Array.from(SetValues.call(x), each)];
    const p = prototype(x);
    if (p === plain || p === null) return ['d', ...keys(x).map(k => [k, each(x[k])])];
    return ['o', 'object'];
  }

  function raised(index, error) {
    let name = 'Error';
    try { name = String(error && error.name || typeof error).slice(0, 80); } catch {}
    send(index, 'err', name, 1);
    try { process.stderr.write(String(error && error.stack || error).slice(0, 2000) + '\n'); } catch {}
  }

  const run = (text, file) => vm.runInThisContext(text, {filename: file});
  globalThis.require = require;
  globalThis.module = module;
  globalThis.exports = exports;
  try {
    run(fs.readFileSync('program.js', 'utf8'), 'program.js');
  } catch (error) {
    return raised(-1, error);
  }
  send(-1, 'ok');
  calls.forEach((call, index) => {
    try {
      send(index, 'val', encode(run('(' + call + '\n)', 'call.js'), {nodes: NODES}, 0));
    } catch (error) {
      if (error instanceof TooLarge) send(index, 'big');
      else raised(index, error);
    }
  });
})();
