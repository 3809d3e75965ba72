// Shows new comments as they come. Without it, a reload does.

const comments = document.getElementById("comments");
const notice = document.getElementById("notice");
const url = new URL(comments.dataset.events, location);
const SECOND = 1000;
let delay = SECOND;

function listen() {
  const source = new EventSource(url);

  source.addEventListener("open", () => {
    delay = SECOND;
    notice.hidden = true;
  });

  source.addEventListener("message", (event) => {
    document.getElementById("empty")?.remove();
    // The server escaped it: this is the very template that the page is made of.
    comments.insertAdjacentHTML("beforeend", JSON.parse(event.data));
    comments.lastElementChild.classList.add("new");
    document.getElementById("count").textContent = event.lastEventId;
    // Where the next source begins. This one remembers by itself.
    url.searchParams.set("seen", event.lastEventId);
  });

  source.addEventListener("deleted", () => {
    source.close();
    say("This thread has just been deleted.");
  });

  source.addEventListener("error", () => {
    // Unless it is closed, as by an answer that is no stream, the browser connects again by itself.
    if (source.readyState === EventSource.CLOSED) {
      say("New comments do not show up for the moment. This page keeps trying; a reload tries at once.");
      setTimeout(listen, delay);
      delay = Math.min(delay * 2, 60 * SECOND);
    }
  });
}

function say(text) {
  notice.textContent = text;
  notice.hidden = false;
}

listen();
