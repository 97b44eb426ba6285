// Numbers as people read them: seconds, bytes, counts and rates, in units that fit.

const NUMBER = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });

// Three significant digits, without an exponent: 1.23, 12.3, 123.
function significant(value) {
  const digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return value.toFixed(digits).replace(/\.0+$/, "");
}

export function count(value) {
  return NUMBER.format(value);
}

// For what is a second's worth or larger than one cares to count: 0.3, 12, 9,870, 34.1 k, 1.2 M.
export function rate(value) {
  if (value === 0) return "0";
  if (value < 0.05) return "<0.1";
  if (value < 9.95) return value.toFixed(1).replace(/\.0$/, "");
  if (value < 9999.5) return NUMBER.format(value);
  if (value < 999_500) return `${significant(value / 1e3)} k`;
  if (value < 999_500_000) return `${significant(value / 1e6)} M`;
  return `${significant(value / 1e9)} G`;
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit ? significant(value) : Math.round(value)} ${units[unit]}`;
}

// A duration: 500 ns, 8.1 µs, 118 µs, 4 ms, 12.4 s, 2 min 3 s, 3 h 12 min, 5 d 3 h.
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.5e-9) return "0 s";
  if (value < 0.9995e-6) return `${significant(value * 1e9)} ns`;
  if (value < 0.9995e-3) return `${significant(value * 1e6)} µs`;
  if (value < 0.9995) return `${significant(value * 1e3)} ms`;
  if (value < 59.95) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

// The same in one unit, for where there is little room: 12 s, 17 min, 3 h.
export function brief(value) {
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  return whole < 86_400 ? `${Math.floor(whole / 3600)} h` : `${Math.floor(whole / 86_400)} d`;
}

export function percent(share) {
  const value = share * 100;
  return `${value > 0 && value < 9.95 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)} %`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

// Seconds since the epoch as a time of day, 20:31:10, of the reader's time zone.
export function clock(time) {
  return CLOCK.format(time * 1000);
}

export function day(time) {
  return DAY.format(time * 1000);
}

// An address without what all of them have in common.
export function peer(address) {
  return address.replace(/^tcp:\/\//, "");
}

// "1 client", "3 clients".
export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}
