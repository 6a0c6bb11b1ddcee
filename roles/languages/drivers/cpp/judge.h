// Writes what a call returned as tagged JSON. Precompiled, so that a program pays little for it; all names are of
// namespace __judge, and what follows the program is one call of `__judge::call` for each call.
#pragma once
#include <bits/stdc++.h>

namespace __judge {

struct TooLarge {};

// One reply, as text; its functions are in judge.cpp.
class Reply {
public:
    explicit Reply(std::string start) : line(std::move(start)) {}
    void null();
    void boolean(bool value);
    void integer(long long value);
    void natural(unsigned long long value);
    void wide(bool negative, unsigned __int128 size);
    void real(double value);
    void complex(double real, double imaginary);
    void text(const char* start, std::size_t size);
    void opaque(const std::type_info& type);
    void open(char tag);  // a group of values: ["l", ...
    void pair();          // an entry of a dict: [key, value]
    void close();
    std::string line;

private:
    void begin();
    void spend(std::size_t nodes);
    long left = 200000;
    int depth = 0;
    bool first = false;
};

using Run = void (*)(void (*)(), Reply&);
bool add(void (*function)(), Run run);

template <class T>
void encode(Reply& reply, const T& value);

template <class T, class = void>
constexpr bool iterable = false;
template <class T>
constexpr bool iterable<T, std::void_t<decltype(std::declval<const T&>().begin() != std::declval<const T&>().end()),
                                       typename T::value_type>> = !std::is_same_v<typename T::value_type, T>;
template <class T, class = void>
constexpr bool keyed = false;
template <class T>
constexpr bool keyed<T, std::void_t<typename T::key_type>> = true;
template <class T, class = void>
constexpr bool mapped = false;
template <class T>
constexpr bool mapped<T, std::void_t<typename T::mapped_type>> = true;
template <class T, class = void>
constexpr bool unique = true;
template <class T>
constexpr bool unique<T, std::enable_if_t<std::is_same_v<
    decltype(std::declval<T&>().insert(std::declval<typename T::value_type>())), typename T::iterator>>> = false;

template <template <class...> class Template, class T>
constexpr bool made_of = false;
template <template <class...> class Template, class... Parts>
constexpr bool made_of<Template, Template<Parts...>> = true;

template <class T>
void element(Reply& reply, const T& value) { __judge::encode<T>(reply, value); }

template <class T>
void range(Reply& reply, const T& values) {
    using Item = typename T::value_type;
    constexpr bool alone = keyed<T> && unique<T>;  // a key occurs once
    reply.open(!alone ? 'l' : mapped<T> ? 'd' : 's');
    for (auto it = values.begin(); it != values.end(); ++it) {
        if constexpr (alone && mapped<T>) {
            reply.pair();
            __judge::element(reply, it->first);
            __judge::element(reply, it->second);
            reply.close();
        } else {
            __judge::element<Item>(reply, static_cast<const Item&>(*it));
        }
    }
    reply.close();
}

template <class... Types>
bool one_of(Reply& reply, const std::any& value) {
    return ((value.type() == typeid(Types) && (__judge::encode(reply, *std::any_cast<Types>(&value)), true)) || ...);
}

template <class T>
void encode(Reply& reply, const T& value) {
    if constexpr (std::is_volatile_v<T>) {
        reply.opaque(typeid(T));
    } else if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::vector<bool>::reference>) {
        reply.boolean(value);
    } else if constexpr (std::is_same_v<T, char>) {
        reply.text(&value, 1);
    } else if constexpr (std::is_same_v<T, __int128>) {
        reply.wide(value < 0, value < 0 ? -static_cast<unsigned __int128>(value) : value);
    } else if constexpr (std::is_same_v<T, unsigned __int128>) {
        reply.wide(false, value);
    } else if constexpr (std::is_enum_v<T>) {
        __judge::encode(reply, static_cast<std::underlying_type_t<T>>(value));
    } else if constexpr (std::is_integral_v<T>) {
        if constexpr (std::is_signed_v<T>) reply.integer(value);
        else reply.natural(value);
    } else if constexpr (std::is_floating_point_v<T>) {
        reply.real(static_cast<double>(value));
    } else if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view>) {
        reply.text(value.data(), value.size());
    } else if constexpr (std::is_same_v<T, const char*> || std::is_same_v<T, char*>) {
        if (value) reply.text(value, std::char_traits<char>::length(value));
        else reply.null();
    } else if constexpr (std::is_same_v<T, std::nullptr_t> || std::is_same_v<T, std::nullopt_t> ||
                         std::is_same_v<T, std::monostate>) {
        reply.null();
    } else if constexpr (std::is_array_v<T>) {
        reply.open('l');
        for (const auto& item : value) __judge::element(reply, item);
        reply.close();
    } else if constexpr (made_of<std::optional, T>) {
        if (value.has_value()) __judge::element(reply, *value);
        else reply.null();
    } else if constexpr (made_of<std::variant, T>) {
        std::visit([&reply](const auto& held) { __judge::element(reply, held); }, value);
    } else if constexpr (made_of<std::pair, T>) {
        reply.open('t');
        __judge::element(reply, value.first);
        __judge::element(reply, value.second);
        reply.close();
    } else if constexpr (made_of<std::tuple, T>) {
        reply.open('t');
        std::apply([&reply](const auto&... items) { (__judge::element(reply, items), ...); }, value);
        reply.close();
    } else if constexpr (made_of<std::complex, T>) {
        reply.complex(static_cast<double>(value.real()), static_cast<double>(value.imag()));
    } else if constexpr (std::is_same_v<T, std::any>) {
        if (!value.has_value()) {
            reply.null();
        } else if (!__judge::one_of<bool, char, int, long, long long, unsigned, unsigned long, float, double, std::string,
                           const char*, std::vector<long>, std::vector<int>, std::vector<std::string>,
                           std::vector<double>, std::vector<float>, std::vector<std::any>>(reply, value)) {
            reply.opaque(value.type());
        }
    } else if constexpr (iterable<T>) {
        __judge::range(reply, value);
    } else {
        reply.opaque(typeid(T));
    }
}

template <class T>
void run(void (*function)(), Reply& reply) {
    if constexpr (std::is_void_v<T>) {
        reinterpret_cast<T (*)()>(function)();
        reply.null();
    } else {
        T&& value = reinterpret_cast<T (*)()>(function)();
        __judge::encode<std::remove_cv_t<std::remove_reference_t<T>>>(reply, value);
    }
}

template <class T>
bool call(T (*function)()) { return add(reinterpret_cast<void (*)()>(function), run<T>); }

}  // namespace __judge
