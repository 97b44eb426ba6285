// Which theme: "system", "light" or "dark". A classic script in the head, so that the
// choice holds before anything is painted.
"use strict";

(() => {
  const KEY = "threadwire-theme";
  const CHOICES = ["system", "light", "dark"];

  function stored() {
    try {
      const choice = localStorage.getItem(KEY);
      return CHOICES.includes(choice) ? choice : "system";
    } catch {
      return "system"; // storage is forbidden here
    }
  }

  function apply(choice) {
    if (choice === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
  }

  window.threadwireTheme = {
    get choice() {
      return document.documentElement.dataset.theme ?? "system";
    },
    next() {
      const choice = CHOICES[(CHOICES.indexOf(this.choice) + 1) % CHOICES.length];
      apply(choice);
      try {
        localStorage.setItem(KEY, choice);
      } catch {
        // It holds until the page is left.
      }
      return choice;
    },
  };
  apply(stored());
})();
