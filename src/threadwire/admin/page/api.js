// Requests to the endpoint, with the token if there is one.

import { problem } from "./stream.js";

const KEY = "threadwire-token";
let token = null;
try {
  token = sessionStorage.getItem(KEY);
} catch {
  // Storage is forbidden here: the token holds until the page is left.
}

export function hasToken() {
  return token !== null;
}

export function setToken(text) {
  token = text;
  try {
    if (text === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, text);
  } catch {
    // As above.
  }
}

function headers() {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}

export function get(path, signal) {
  return fetch(path, { headers: headers(), cache: "no-store", signal });
}

// The JSON at `path`; null if there is no such thing (any more). Throws what went wrong.
export async function getJson(path, signal) {
  const response = await get(path, signal);
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(await problem(response));
  return response.json();
}

// Throws what went wrong.
export async function post(path) {
  const response = await fetch(path, { method: "POST", headers: headers(), cache: "no-store" });
  if (!response.ok) throw new Error(await problem(response));
}
