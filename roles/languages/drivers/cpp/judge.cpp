// Runs the calls and sends the replies. Compiled once, linked to every program.
#include "judge.h"

#include <cxxabi.h>
#include <unistd.h>

namespace __judge {
namespace {

constexpr int DEPTH = 100;
constexpr char DIGITS[] = "0123456789abcdef";
std::size_t largest = 0;

std::vector<std::pair<void (*)(), Run>>& calls() {
    static std::vector<std::pair<void (*)(), Run>> all;
    return all;
}

void send(const std::string& nonce, const std::string& frame) {
    std::string line = nonce + " [" + frame + "]\n";
    for (std::size_t done = 0; done < line.size();) {
        ssize_t written = write(3, line.data() + done, line.size() - done);
        if (written < 0 && errno != EINTR) _exit(1);
        if (written > 0) done += written;
    }
}

std::string name(const std::type_info& type) {
    int status = 0;
    char* readable = abi::__cxa_demangle(type.name(), nullptr, nullptr, &status);
    std::string found = readable && status == 0 ? readable : type.name();
    std::free(readable);
    return found.substr(0, 80);
}

}  // namespace

bool add(void (*function)(), Run run) {
    calls().emplace_back(function, run);
    return true;
}

void Reply::begin() {
    if (!first) line += ',';
    first = false;
}

void Reply::spend(std::size_t nodes) {
    left -= static_cast<long>(nodes);
    if (left < 0 || line.size() > largest) throw TooLarge();
}

void Reply::null() { spend(1); begin(); line += "null"; }
void Reply::boolean(bool value) { spend(1); begin(); line += value ? "true" : "false"; }
void Reply::integer(long long value) { spend(1); begin(); line += "[\"j\",\"" + std::to_string(value) + "\"]"; }
void Reply::natural(unsigned long long value) { spend(1); begin(); line += "[\"j\",\"" + std::to_string(value) + "\"]"; }

void Reply::wide(bool negative, unsigned __int128 size) {
    spend(1);
    begin();
    std::string digits;
    do {
        digits.insert(digits.begin(), DIGITS[static_cast<int>(size % 16)]);
        size /= 16;
    } while (size);
    line += "[\"i\",\"" + std::string(negative ? "-" : "") + digits + "\"]";
}

void Reply::real(double value) {
    spend(1);
    begin();
    char hexadecimal[40];
    std::snprintf(hexadecimal, sizeof hexadecimal, "%a", value);
    line += std::string("[\"f\",\"") + hexadecimal + "\"]";
}

void Reply::complex(double real, double imaginary) {
    spend(1);
    begin();
    char hexadecimal[80];
    std::snprintf(hexadecimal, sizeof hexadecimal, "%a\",\"%a", real, imaginary);
    line += std::string("[\"c\",\"") + hexadecimal + "\"]";
}

void Reply::text(const char* start, std::size_t size) {
    spend(1 + size / 16);
    begin();
    bool plain = true;
    for (std::size_t i = 0; i < size && plain; i++) plain = start[i] >= ' ' && start[i] <= '~' && start[i] != '"' && start[i] != '\\';
    if (plain) {
        line += '"' + std::string(start, size) + '"';
        return;
    }
    line += "[\"y\",\"";
    for (std::size_t i = 0; i < size; i++) {
        line += DIGITS[static_cast<unsigned char>(start[i]) >> 4];
        line += DIGITS[start[i] & 15];
    }
    line += "\"]";
}

void Reply::opaque(const std::type_info& type) {
    spend(1);
    begin();
    line += "[\"o\"";
    std::string readable = name(type);
    text(readable.data(), readable.size());
    line += ']';
}

void Reply::open(char tag) {
    spend(1);
    begin();
    if (++depth > DEPTH) throw TooLarge();
    line += std::string("[\"") + tag + '"';
}

void Reply::pair() {
    begin();
    depth++;
    line += '[';
    first = true;
}

void Reply::close() {
    depth--;
    line += ']';
    first = false;
}

}  // namespace __judge

int main(int argc, char** argv) {
    using namespace __judge;
    const std::string nonce = argv[argc - 1];
    largest = std::strtoull(argv[argc - 2], nullptr, 10);
    send(nonce, "-1,\"ok\"");
    int index = 0;
    for (const auto& [function, run] : calls()) {
        const std::string number = std::to_string(index++);
        std::string raised;
        try {
            Reply reply(number + ",\"val\"");
            run(function, reply);
            send(nonce, reply.line.size() > largest ? number + ",\"big\"" : reply.line);
        } catch (const TooLarge&) {
            send(nonce, number + ",\"big\"");
        } catch (const std::exception& error) {
            raised = name(typeid(error));
            std::fprintf(stderr, "%s: %.2000s\n", raised.c_str(), error.what());
        } catch (...) {
            const std::type_info* type = abi::__cxa_current_exception_type();
            raised = type ? name(*type) : "exception";
            std::fprintf(stderr, "uncaught: %s\n", raised.c_str());
        }
        if (!raised.empty()) {
            Reply reply(number + ",\"err\"");
            reply.text(raised.data(), raised.size());
            send(nonce, reply.line + ",1");
        }
    }
    _exit(0);
}
