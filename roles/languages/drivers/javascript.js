// Loads the program, answers the calls. Whatever the driver uses is bound before the program runs, to names of its
// own: a program may patch or redefine any global and is still answered for what it returns.
'use strict';
(() => {
  const fs = require('fs'), vm = require('vm'), path = require('path'), {types} = require('util');
  const free = method => Function.prototype.call.bind(method); // a method as a function, untouched by later patches
  const entries = free(Map.prototype.entries), values = free(Set.prototype.values);
  const advance = free(Object.getPrototypeOf(new Map().entries()).next);
  const step = free(Object.getPrototypeOf(new Set().values()).next);
  const hexadecimal = free(BigInt.prototype.toString), cut = free(String.prototype.slice);
  const {stringify, parse} = JSON, {isArray} = Array, {isInteger} = Number, {is, keys, getPrototypeOf} = Object;
  const {isMap, isSet, isProxy, isDate, isRegExp, isNativeError, isPromise, isBoxedPrimitive} = types;
  const {writeSync} = fs, bytes = Buffer.from, text = String, leave = process.reallyExit.bind(process);
  const memory = /allocation failed/i, find = free(RegExp.prototype.exec);
  const plain = Object.prototype, isError = Object.prototype.isPrototypeOf.bind(Error.prototype);
  const LARGEST = LARGEST_FRAME, NODES = 200000, DEPTH = 100, TOO_LARGE = {};

  const calls = parse(fs.readFileSync('calls.json', 'utf8'));
  // Each call as two functions: the type of the name that it begins with, and the call itself.
  const answers = calls.map(call => {
    const name = /^\s*([A-Za-z_$][\w$]*)\s*[.(]/.exec(call)?.[1];
    return `[() => ${name ? 'typeof ' + name : "''"}, () => (${call}\n)]`;
  }).join(',\n');
  const nonce = process.argv.pop();
  let nodes = 0;

  function send(index, kind, rest) {
    let line = '[' + index + ',"' + kind + '"' + (rest === undefined ? '' : ',' + rest) + ']';
    if (line.length > LARGEST) line = '[' + index + ',"big"]';
    const data = bytes(nonce + ' ' + line + '\n', 'utf8');
    for (let done = 0; done < data.length;) done += writeSync(3, data, done);
  }

  // The JSON text of a value. As a key of a map or an item of a set, a list is a tuple: it has to be hashed.
  function encode(x, depth, hashed) {
    nodes -= 1 + (typeof x === 'string' ? x.length >> 4 : 0);
    if (nodes < 0 || depth > DEPTH) throw TOO_LARGE;
    switch (typeof x) {
      case 'undefined': return 'null';
      case 'boolean': return x ? 'true' : 'false';
      case 'string': return stringify(x);
      case 'number':
        if (isInteger(x) && x <= 9007199254740992 && x >= -9007199254740992 && !is(x, -0)) return '["j","' + x + '"]';
        return '["e","' + (is(x, -0) ? '-0.0' : x) + '"]';
      case 'bigint': return '["i","' + hexadecimal(x, 16) + '"]';
      case 'object': return x === null ? 'null' : container(x, depth + 1, hashed);
      default: return '["o","' + typeof x + '"]';
    }
  }

  function container(x, depth, hashed) {
    let form;
    if (isArray(x)) {
      form = hashed ? '["t"' : '["l"';
      for (let i = 0; i < x.length; i++) form += ',' + encode(x[i], depth, hashed);
      return form + ']';
    }
    if (isMap(x) && !hashed) {
      form = '["d"';
      for (let all = entries(x), next = advance(all); !next.done; next = advance(all)) {
        form += ',[' + encode(next.value[0], depth, true) + ',' + encode(next.value[1], depth, false) + ']';
      }
      return form + ']';
    }
    if (isSet(x)) {
      form = hashed ? '["z"' : '["s"';
      for (let all = values(x), next = step(all); !next.done; next = step(all)) form += ',' + encode(next.value, depth, true);
      return form + ']';
    }
    if (isDate(x)) return '["o","Date"]';
    if (isRegExp(x)) return '["o","RegExp"]';
    if (isPromise(x)) return '["o","Promise"]';
    if (isNativeError(x)) return '["o","Error"]';
    const prototype = getPrototypeOf(x);
    if (hashed || isBoxedPrimitive(x) || (prototype !== plain && prototype !== null)) return '["o","object"]';
    const owned = keys(x);
    form = '["d"';
    for (let i = 0; i < owned.length; i++) {
      form += ',[' + encode(owned[i], depth, true) + ',' + encode(x[owned[i]], depth, false) + ']';
    }
    return form + ']';
  }

  function raised(index, error) {
    let name = 'Error', trace = '';
    try {
      name = isError(error) ? text(error.name) : typeof error;
      if (isError(error) && find(memory, text(error.message))) name = 'OutOfMemoryError';
      trace = cut(text(isError(error) ? error.stack : error), 0, 2000) + '\n';
    } catch {}
    send(index, 'err', stringify(cut(name, 0, 80)) + ',1');
    try { writeSync(2, trace); } catch {}
  }

  function load() {
    const file = path.resolve('program.js'), module = {exports: {}, id: '.', filename: file, loaded: false};
    // As Node.js wraps a module, with the calls as the last thing in its scope.
    const source = fs.readFileSync(file, 'utf8') + '\n;return [' + answers + '];';
    const parameters = ['exports', 'require', 'module', '__filename', '__dirname'];
    const program = vm.compileFunction(source, parameters, {filename: file});
    require.main = module;
    return program.call(module.exports, module.exports, require, module, file, path.dirname(file));
  }

  let loaded;
  try {
    loaded = load();
  } catch (error) {
    raised(-1, error);
    leave(1);
  }
  send(-1, 'ok');
  for (let index = 0; index < calls.length; index++) {
    try {
      if (loaded[index][0]() === 'undefined') {
        send(index, 'undefined');
        continue;
      }
      const value = loaded[index][1]();
      nodes = NODES;
      send(index, 'val', encode(value, 0, false));
    } catch (error) {
      if (error === TOO_LARGE) send(index, 'big');
      else raised(index, error);
    }
  }
  leave(0);
})();
