// The name that decisions are stored with, as `ui/identity.py` reads it: kept in this browser for a year.

const COOKIE = "gradattn_reviewer";
const YEAR = 31_536_000; // seconds

export function remember(name) {
  const whole = name.toWellFormed?.() ?? name;
  // What encodeURIComponent leaves as it is, and a cookie of Python's does not.
  const value = encodeURIComponent(whole).replace(/['()*!]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
  document.cookie = `${COOKIE}=${value}; max-age=${YEAR}; path=/; SameSite=Strict`;
}
