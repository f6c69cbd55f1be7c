"use strict";
// The Random Hierarchy Model in the page: the rules that rhm_hf draws for a seed, and exact laws by belief propagation.
// Levels count from the leaves: 0 = tokens, L = root. rules[l][a][k] are the children of rule k of symbol a at level l.

const MASK64 = (1n << 64n) - 1n;

// Philox4x64-10 with key (seed, generation) and counters 1, 2, ..: the raw stream of numpy.random.Philox(key=..).
class Philox {
  constructor(first, second) {
    this.key = [BigInt(first) & MASK64, BigInt(second) & MASK64];
    this.counter = 0n;
    this.buffer = [];
  }
  next() {
    if (!this.buffer.length) {
      this.counter += 1n;
      let c = [0n, 64n, 128n, 192n].map((shift) => (this.counter >> shift) & MASK64), [k0, k1] = this.key;
      for (let round = 0; round < 10; round++) {
        const a = 0xD2E7470EE14C6C93n * c[0], b = 0xCA5A826395121157n * c[2];
        c = [(b >> 64n) ^ c[1] ^ k0, b & MASK64, (a >> 64n) ^ c[3] ^ k1, a & MASK64];
        k0 = (k0 + 0x9E3779B97F4A7C15n) & MASK64;
        k1 = (k1 + 0xBB67AE8584CAA73Bn) & MASK64;
      }
      this.buffer = c;
    }
    return this.buffer.shift();
  }
  many(count) {
    return Array.from({length: count}, () => this.next());
  }
}

// As bounded_integers of random_rules.py: `count` numbers below `bound`; those beyond its last multiple are redrawn.
function boundedIntegers(raw, bound, count) {
  const n = BigInt(bound), last = ((1n << 64n) / n) * n, kept = raw.many(count);
  for (;;) {
    const rejected = kept.flatMap((number, i) => (number >= last ? [i] : []));
    if (!rejected.length) return kept.map((number) => Number(number % n));
    for (const i of rejected) kept[i] = raw.next();
  }
}

// As distinct_tuples of random_rules.py: an ordered sample without replacement of `count` of the v^s tuples.
function distinctTuples(v, s, count, raw) {
  const total = v ** s;
  if (total <= 4 * count) {
    const keys = raw.many(total), order = Array.from(keys.keys());
    order.sort((i, j) => (keys[i] < keys[j] ? -1 : keys[i] > keys[j] ? 1 : i - j));
    return order.slice(0, count).map((number) => {
      const tuple = new Array(s);
      for (let c = s - 1; c >= 0; c--) { tuple[c] = number % v; number = Math.floor(number / v); }
      return tuple;
    });
  }
  const tuples = [], seen = new Set();
  while (tuples.length < count) {
    const draws = boundedIntegers(raw, v, (count - tuples.length) * s);
    for (let i = 0; i < draws.length; i += s) {
      const tuple = draws.slice(i, i + s), name = tuple.join();
      if (!seen.has(name)) { seen.add(name); tuples.push(tuple); }
    }
  }
  return tuples;
}

class Grammar {
  constructor(v, m, s, L, seed) {
    Object.assign(this, {v, m, s, L, seed: BigInt(seed), d: s ** L});
    this.rules = [null];
    for (let level = L; level >= 1; level--) {
      const tuples = distinctTuples(v, s, v * m, new Philox(this.seed, L - level));
      this.rules[level] = Array.from({length: v}, (_, a) => tuples.slice(a * m, (a + 1) * m));
    }
    this.nodes = Array.from({length: L + 1}, (_, level) => s ** (L - level));
    this.inner = this.nodes.slice(1).reduce((sum, n) => sum + n, 0);
    this.count = BigInt(v) * BigInt(m) ** BigInt(this.inner);
    this.entropy = Math.log(v) + this.inner * Math.log(m);  // of a sentence, nats
    this.ranks = [1n];  // subtrees below a symbol of each level
    for (let level = 1; level <= L; level++) this.ranks.push(BigInt(m) * this.ranks[level - 1] ** BigInt(s));
  }

  // The derivation of sentence `index`, as grammar.sentence(index) of rhm_hf: {symbols, choices}, both by level.
  derivation(index) {
    const symbols = this.nodes.map(() => []), choices = this.nodes.map(() => []);
    let row = [[Number(index / this.ranks[this.L]), index % this.ranks[this.L]]];
    for (let level = this.L; level >= 0; level--) {
      symbols[level] = row.map(([symbol]) => symbol);
      if (!level) break;
      const below = this.ranks[level - 1], next = [];
      for (const [symbol, rank] of row) {
        const each = below ** BigInt(this.s), choice = Number(rank / each);
        let rest = rank % each;
        choices[level].push(choice);
        const digits = [];
        for (let c = 0; c < this.s; c++) { digits.unshift(rest % below); rest /= below; }
        this.rules[level][symbol][choice].forEach((child, c) => next.push([child, digits[c]]));
      }
      row = next;
    }
    return {symbols, choices};
  }

  index({symbols, choices}) {
    let rank = symbols[0].map(() => 0n);
    for (let level = 1; level <= this.L; level++) {
      rank = choices[level].map((choice, node) => {
        let sum = BigInt(choice);
        for (let c = 0; c < this.s; c++) sum = sum * this.ranks[level - 1] + rank[node * this.s + c];
        return sum;
      });
    }
    return BigInt(symbols[this.L][0]) * this.ranks[this.L] + rank[0];
  }

  // Laws of every node given evidence: evidence[i] is the likelihood of every symbol at token i (all 1: hidden).
  // Returns {posterior, outside}: by level and node, normalised; `outside` leaves out what lies below the node.
  // posterior is null where the evidence is impossible.
  beliefs(evidence) {
    const {v, m, s, L} = this, up = [evidence.map(normalised)];
    for (let level = 1; level <= L; level++) {
      up.push(Array.from({length: this.nodes[level]}, (_, node) => {
        const message = new Float64Array(v);
        for (let a = 0; a < v; a++) {
          for (const rule of this.rules[level][a]) {
            let product = 1 / m;
            for (let c = 0; c < s; c++) product *= up[level - 1][node * s + c][rule[c]];
            message[a] += product;
          }
        }
        return normalised(message);
      }));
    }
    const outside = new Array(L + 1);
    outside[L] = [new Float64Array(v).fill(1 / v)];
    for (let level = L; level >= 1; level--) {
      outside[level - 1] = Array.from({length: this.nodes[level - 1]}, () => new Float64Array(v));
      for (let node = 0; node < this.nodes[level]; node++) {
        const above = outside[level][node], below = up[level - 1].slice(node * s, (node + 1) * s);
        for (let a = 0; a < v; a++) {
          for (const rule of this.rules[level][a]) {
            for (let c = 0; c < s; c++) {
              let product = above[a] / m;
              for (let other = 0; other < s; other++) if (other !== c) product *= below[other][rule[other]];
              outside[level - 1][node * s + c][rule[c]] += product;
            }
          }
        }
      }
      outside[level - 1] = outside[level - 1].map(normalised);
    }
    const posterior = up.map((row, level) => row.map((message, node) =>
      normalised(message.map((value, a) => value * outside[level][node][a]))));
    return {posterior: posterior[L][0].some((p) => p > 0) ? posterior : null, outside};
  }

  evidence(tokens, hidden) {
    return tokens.map((token, i) => {
      const likelihood = new Float64Array(this.v).fill(hidden[i] ? 1 : 0);
      likelihood[token] = 1;
      return likelihood;
    });
  }

  // P(x_i = . | x_<i).
  nextToken(tokens, i) {
    return this.beliefs(this.evidence(tokens, tokens.map((_, j) => j >= i))).posterior[0][i];
  }

  // P(x_i = . | the tokens before it that are not hidden).
  nextTokenGiven(tokens, hidden, i) {
    return this.beliefs(this.evidence(tokens, hidden.map((h, j) => h || j >= i))).posterior[0][i];
  }

  // C~(t), t = 1 .. d-1, of the pair (x_(d-1-t), x_(d-1)): exact_correlation(grammar) of rhm_hf.
  correlations() {
    const {v, d} = this, all = Array.from({length: d}, () => new Float64Array(v).fill(1));
    const marginals = this.beliefs(all).posterior[0], sums = new Float64Array(d - 1);
    for (let b = 0; b < v; b++) {
      const weight = marginals[d - 1][b];
      if (!weight) continue;
      const given = all.slice();
      given[d - 1] = new Float64Array(v);
      given[d - 1][b] = 1;
      const laws = this.beliefs(given).posterior[0];
      for (let t = 1; t < d; t++) {
        for (let a = 0; a < v; a++) sums[t - 1] += (weight * (laws[d - 1 - t][a] - marginals[d - 1 - t][a])) ** 2;
      }
    }
    return Array.from(sums, (sum) => Math.sqrt(sum) / v);
  }

  // Training sentences at which level l is learnt: theory.sample_complexity, last token, transformer and CNN.
  sampleComplexity() {
    const {v, m, s, L} = this, rest = 1 - (v * m) / v ** s;
    return Array.from({length: L}, (_, i) => {
      const level = i + 1, over = (number) => (rest > 0 ? number / rest : Infinity);
      return {level, transformer: over(v * m ** (2 * level - 1)), cnn: level === 1 ? v * m : over(v * m ** (level + 1))};
    });
  }
}

function normalised(vector) {
  let sum = 0;
  for (const value of vector) sum += value;
  return sum > 0 ? vector.map((value) => value / sum) : vector;
}

function entropyOf(law) {
  return law.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);
}

// Why these parameters give no grammar that the page can show, or an empty string.
function refusal(v, m, s, L, seed) {
  const whole = {v, m, s, L};
  for (const [name, value] of Object.entries(whole)) {
    if (!Number.isInteger(value) || value < 1) return `${name} must be a whole number above 0`;
  }
  if (v > 16 || L > 4) return "v is at most 16 and L at most 4 here; rhm_hf itself has no such bound";
  if (s < 2 || s ** L > 81) return "s is at least 2, and a sentence has at most 81 tokens here";
  if (m > 32) return "m is at most 32 here; rhm_hf itself has no such bound";
  if (m > v ** (s - 1)) return `m is at most v^(s-1) = ${v ** (s - 1)}: rules are unambiguous`;
  if (!/^\d+$/.test(seed) || BigInt(seed) >= 1n << 63n) return "the seed is a whole number from 0 to 2^63 - 1";
  return "";
}
